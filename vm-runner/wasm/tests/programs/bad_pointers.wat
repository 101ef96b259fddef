;; Pointers outside of memory are EFAULT (21) before anything happens; too many buffers are EINVAL (28).
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get"
    (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "fd_pipe" (func $fd_pipe (param i32 i32) (result i32)))
  (import "host_process" "fd_getfd" (func $fd_getfd (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\05\00\00\00")  ;; a good buffer
  (data (i32.const 8) "\ff\ff\00\00\05\00\00\00")  ;; one that ends behind the memory
  (data (i32.const 64) "seen\n")
  (data (i32.const 80) "made")
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func (export "_start")
    ;; the list of buffers, one of its buffers, the place for the result
    (call $is (i32.const 1) (call $fd_write (i32.const 1) (i32.const 65530) (i32.const 1) (i32.const 16)) (i32.const 21))
    (call $is (i32.const 2) (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 16)) (i32.const 21))
    (call $is (i32.const 3) (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 65533)) (i32.const 21))
    (call $is (i32.const 4) (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1025) (i32.const 16)) (i32.const 28))
    (call $is (i32.const 5) (call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16)) (i32.const 21))
    (call $is (i32.const 6) (call $random_get (i32.const 1) (i32.const -1)) (i32.const 21))
    (call $is (i32.const 7) (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 65529)) (i32.const 21))
    (call $is (i32.const 8)
      (call $path_filestat_get (i32.const 3) (i32.const 1) (i32.const 80) (i32.const -1) (i32.const 128)) (i32.const 21))
    ;; a call with a bad place for its second result leaves nothing open
    (call $is (i32.const 9) (call $fd_pipe (i32.const 128) (i32.const 65536)) (i32.const 21))
    (call $is (i32.const 10) (call $fd_getfd (i32.const 5) (i32.const 128)) (i32.const 8))
    ;; and creates nothing
    (call $is (i32.const 11)
      (call $path_open (i32.const 0x40000003) (i32.const 1) (i32.const 80) (i32.const 4) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 65536))
      (i32.const 21))
    (call $is (i32.const 12)
      (call $path_filestat_get (i32.const 0x40000003) (i32.const 1) (i32.const 80) (i32.const 4) (i32.const 128))
      (i32.const 44))))
