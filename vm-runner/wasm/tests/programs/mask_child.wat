;; Exits with the signal mask that its library was told, before `_start`.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (global $low (mut i32) (i32.const 0))
  (func (export "__wasi_signal_trampoline") (param i32))
  (func (export "__agentos_set_initial_sigmask") (param $low i32) (param $high i32) (result i32)
    (global.set $low (local.get $low))
    (i32.const 0))
  (func (export "_start") (call $proc_exit (i32.shr_u (global.get $low) (i32.const 8)))))
