;; Blocks SIGUSR1 (10) and becomes `mask_child`.
(module
  (import "host_process" "proc_signal_mask_v2" (func $mask (param i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "proc_exec" (func $exec (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "/opt/bin/mask_child")
  (func (export "_start")
    (drop (call $mask (i32.const 0) (i32.const 0x200) (i32.const 0) (i32.const 64) (i32.const 68)))
    (drop (call $exec (i32.const 0) (i32.const 19) (i32.const 0) (i32.const 19) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    unreachable))
