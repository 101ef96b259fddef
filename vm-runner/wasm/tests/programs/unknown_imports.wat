;; Unknown functions answer ENOSYS (52) or -1; so does a known name with other parameters. 151 of the 166 published
;; commands import some that nobody calls.
(module
  (import "host_fs" "no_such_call" (func $no_such_call (param i32) (result i32)))
  (import "host_fs" "no_such_size" (func $no_such_size (param i32 i64) (result i64)))
  (import "host_fs" "path_mode" (func $old_path_mode (param i32 i32 i32) (result i32)))
  (import "env" "nothing" (func $nothing))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.ne (call $no_such_call (i32.const 0)) (i32.const 52)) (then (call $proc_exit (i32.const 1))))
    (if (i64.ne (call $no_such_size (i32.const 0) (i64.const 0)) (i64.const -1)) (then (call $proc_exit (i32.const 2))))
    (if (i32.ne (call $old_path_mode (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 52))
      (then (call $proc_exit (i32.const 3))))))
