;; Grows by 16 MiB until that fails, and exits with how often it succeeded.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $times i32)
    (loop $again
      (if (i32.ne (memory.grow (i32.const 256)) (i32.const -1))
        (then
          (local.set $times (i32.add (local.get $times) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $times) (i32.const 200))))))
    (call $proc_exit (local.get $times))))
