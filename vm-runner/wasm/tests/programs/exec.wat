;; A failing exec returns; a good one does not.
(module
  (import "host_process" "proc_exec" (func $exec (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hello")
  (data (i32.const 8) "missing")
  (data (i32.const 32) "PATH=/opt/bin")
  (data (i32.const 64) "\63\00\00\00") ;; an fd that is not open
  (func (export "_start")
    (if (i32.ne
          (call $exec (i32.const 8) (i32.const 7) (i32.const 8) (i32.const 7) (i32.const 32) (i32.const 13) (i32.const 64) (i32.const 1))
          (i32.const 44))
      (then (call $proc_exit (i32.const 1))))
    (drop (call $exec (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5) (i32.const 32) (i32.const 13) (i32.const 64) (i32.const 1)))
    (call $proc_exit (i32.const 2))))
