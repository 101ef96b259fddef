;; A handler that raises its own signal while it runs, without end.
(module
  (import "host_process" "proc_getpid" (func $proc_getpid (param i32) (result i32)))
  (import "host_process" "proc_kill" (func $proc_kill (param i32 i32) (result i32)))
  (import "host_process" "proc_sigaction" (func $proc_sigaction (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func $raise
    (drop (call $proc_getpid (i32.const 0)))
    (drop (call $proc_kill (i32.load (i32.const 0)) (i32.const 10))))
  (func (export "__wasi_signal_trampoline") (param i32) (call $raise))
  (func (export "_start")
    (call $is (i32.const 1) (call $proc_sigaction (i32.const 10) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0x40000000)) (i32.const 0))
    (call $raise)
    (call $proc_exit (i32.const 2))))
