;; poll_oneoff and net_poll.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "host_net" "net_poll" (func $net_poll (param i32 i32 i32 i32) (result i32)))
  (import "host_net" "net_recv" (func $net_recv (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; a subscription: userdata 7, clock, monotonic, 2 ms
  (data (i32.const 0) "\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\80\84\1e\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  ;; a second: userdata 9, fd_write of 1
  (data (i32.const 48) "\09\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\01")
  ;; records: 1 for writing, a closed one, a skipped one
  (data (i32.const 96) "\01\00\00\00\04\00\ff\ff\4d\00\00\00\01\00\ff\ff\ff\ff\ff\ff\01\00\ff\ff")
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func $now (result i64)
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 400)))
    (i64.load (i32.const 400)))
  (func (export "_start")
    (local $before i64)
    (local.set $before (call $now))
    (call $is (i32.const 1) (call $poll_oneoff (i32.const 0) (i32.const 200) (i32.const 1) (i32.const 300)) (i32.const 0))
    (if (i64.lt_u (i64.sub (call $now) (local.get $before)) (i64.const 2000000)) (then (call $proc_exit (i32.const 2))))
    (call $is (i32.const 3) (i32.load (i32.const 300)) (i32.const 1))
    (call $is (i32.const 4) (i32.load (i32.const 200)) (i32.const 7))
    (call $is (i32.const 5) (call $poll_oneoff (i32.const 0) (i32.const 200) (i32.const 0) (i32.const 300)) (i32.const 28))
    ;; an fd that is ready comes before the clock
    (call $is (i32.const 6) (call $poll_oneoff (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 300)) (i32.const 0))
    (call $is (i32.const 7) (i32.load (i32.const 300)) (i32.const 1))
    (call $is (i32.const 8) (i32.load (i32.const 200)) (i32.const 9))
    (call $is (i32.const 9) (i32.load8_u (i32.const 210)) (i32.const 2))
    ;; an absolute time in the past is now
    (i32.store8 (i32.const 40) (i32.const 1))
    (call $is (i32.const 10) (call $poll_oneoff (i32.const 0) (i32.const 200) (i32.const 1) (i32.const 300)) (i32.const 0))
    ;; poll
    (call $is (i32.const 11) (call $net_poll (i32.const 96) (i32.const 3) (i32.const 0) (i32.const 300)) (i32.const 0))
    (call $is (i32.const 12) (i32.load (i32.const 300)) (i32.const 2))
    (call $is (i32.const 13) (i32.load16_u (i32.const 102)) (i32.const 4))
    (call $is (i32.const 14) (i32.load16_u (i32.const 110)) (i32.const 0x20)) ;; NVAL
    (call $is (i32.const 15) (i32.load16_u (i32.const 118)) (i32.const 0))
    ;; receiving from what is no socket: libraries read it instead
    (call $is (i32.const 16) (call $net_recv (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 0) (i32.const 300)) (i32.const 57))
    (call $is (i32.const 17) (call $net_recv (i32.const 77) (i32.const 400) (i32.const 1) (i32.const 0) (i32.const 300)) (i32.const 8))))
