;; Opens until there are no more fds, and is served again once it closes one.
(module
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "host_process" "fd_pipe" (func $fd_pipe (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "/dev/null")
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func (export "_start")
    (local $count i32) (local $errno i32)
    (loop $again
      (local.set $errno (call $path_open (i32.const 0x40000003) (i32.const 1) (i32.const 0) (i32.const 9) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64)))
      (if (i32.eqz (local.get $errno))
        (then
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $count) (i32.const 100000))))))
    (call $is (i32.const 1) (local.get $errno) (i32.const 33))
    (call $is (i32.const 2) (i32.gt_u (local.get $count) (i32.const 100)) (i32.const 1))
    ;; half a pipe is none
    (call $is (i32.const 3) (call $fd_close (i32.load (i32.const 64))) (i32.const 0))
    (call $is (i32.const 4) (call $fd_pipe (i32.const 72) (i32.const 76)) (i32.const 33))
    (call $is (i32.const 5)
      (call $path_open (i32.const 0x40000003) (i32.const 1) (i32.const 0) (i32.const 9) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64))
      (i32.const 0))))
