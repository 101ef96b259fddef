;; Dies in the way that its first argument's first letter says.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (table 1 funcref)
  (type $nothing (func))
  (func $deep (param $n i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get $n) (i32.const 1)))))
  (func (export "_start")
    (local $how i32)
    (drop (call $args_get (i32.const 0) (i32.const 64)))
    (local.set $how (i32.load8_u (i32.load (i32.const 4))))
    (if (i32.eq (local.get $how) (i32.const 97)) (then unreachable)) ;; a
    (if (i32.eq (local.get $how) (i32.const 109)) (then (drop (i32.load (i32.const 0x7fffffff))))) ;; m
    (if (i32.eq (local.get $how) (i32.const 115)) (then (drop (call $deep (i32.const 0))))) ;; s
    (if (i32.eq (local.get $how) (i32.const 100)) (then (drop (i32.div_u (i32.const 1) (i32.load (i32.const 32)))))) ;; d
    (if (i32.eq (local.get $how) (i32.const 105)) (then (call_indirect (type $nothing) (i32.const 0)))) ;; i
    (if (i32.eq (local.get $how) (i32.const 101)) (then (call $proc_exit (i32.const 0x103)))))) ;; e
