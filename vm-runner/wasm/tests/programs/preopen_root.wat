;; In `/` there is one preopened directory only.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $proc_exit
      (i32.add
        (i32.mul (call $fd_prestat_get (i32.const 0x40000003) (i32.const 0)) (i32.const 100))
        (call $fd_prestat_get (i32.const 0x40000004) (i32.const 0))))))
