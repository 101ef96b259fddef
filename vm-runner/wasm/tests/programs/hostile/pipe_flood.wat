;; Writes into its own pipe, without waiting, until that is full; what the VM keeps for it has a limit.
(module
  (import "host_process" "fd_pipe" (func $fd_pipe (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\00\00\00\00\00\00\10\00")
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func (export "_start")
    (local $errno i32) (local $times i32)
    (drop (memory.grow (i32.const 16)))
    (call $is (i32.const 1) (call $fd_pipe (i32.const 16) (i32.const 20)) (i32.const 0))
    (call $is (i32.const 2) (call $fd_fdstat_set_flags (i32.load (i32.const 20)) (i32.const 4)) (i32.const 0))
    (loop $again
      (local.set $errno (call $fd_write (i32.load (i32.const 20)) (i32.const 0) (i32.const 1) (i32.const 24)))
      (local.set $times (i32.add (local.get $times) (i32.const 1)))
      (br_if $again (i32.and (i32.eqz (local.get $errno)) (i32.lt_u (local.get $times) (i32.const 100000)))))
    (call $is (i32.const 3) (local.get $errno) (i32.const 6))
    ;; a megabyte at a time: not more than the limit of all pipes
    (call $is (i32.const 4) (i32.le_u (local.get $times) (i32.const 130)) (i32.const 1))))
