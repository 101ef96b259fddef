;; Polls a million things, none, unknown ones, and times without end.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "host_net" "net_poll" (func $net_poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func (export "_start")
    (drop (memory.grow (i32.const 1000)))
    (call $is (i32.const 1) (call $poll_oneoff (i32.const 0) (i32.const 65536) (i32.const 0x00100000) (i32.const 16)) (i32.const 28))
    (call $is (i32.const 2) (call $poll_oneoff (i32.const 0) (i32.const 65536) (i32.const 0x80000000) (i32.const 16)) (i32.const 28))
    (call $is (i32.const 3) (call $poll_oneoff (i32.const 0) (i32.const 65536) (i32.const 0x05555556) (i32.const 16)) (i32.const 28))
    (call $is (i32.const 4) (call $poll_oneoff (i32.const 0) (i32.const 65536) (i32.const 0) (i32.const 16)) (i32.const 28))
    ;; 4096 clocks of time 0
    (call $is (i32.const 5) (call $poll_oneoff (i32.const 1024) (i32.const 65536) (i32.const 4096) (i32.const 60000000)) (i32.const 0))
    (call $is (i32.const 40) (i32.load (i32.const 60000000)) (i32.const 4096))
    ;; an unknown kind; an unknown clock
    (i32.store8 (i32.const 1032) (i32.const 9))
    (call $is (i32.const 6) (call $poll_oneoff (i32.const 1024) (i32.const 65536) (i32.const 1) (i32.const 16)) (i32.const 28))
    (i32.store8 (i32.const 1032) (i32.const 0)) (i32.store (i32.const 1040) (i32.const 77))
    (call $is (i32.const 7) (call $poll_oneoff (i32.const 1024) (i32.const 65536) (i32.const 1) (i32.const 16)) (i32.const 28))
    (call $is (i32.const 8) (call $net_poll (i32.const 0) (i32.const 0x00100000) (i32.const 0) (i32.const 16)) (i32.const 28))
    ;; a time that is over the end of time, beside one that has come
    (i32.store (i32.const 1040) (i32.const 1)) (i64.store (i32.const 1048) (i64.const -1))
    (call $is (i32.const 9) (call $poll_oneoff (i32.const 1024) (i32.const 65536) (i32.const 2) (i32.const 16)) (i32.const 0))))
