;; Grows four memories in turn, by 16 MiB each time: they count together. Exits with how often it succeeded.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory $a (export "memory") 1)
  (memory $b 1)
  (memory $c 1)
  (memory $d 1)
  (func (export "_start")
    (local $blocks i32) (local $tries i32)
    (loop $again
      (if (i32.ne (memory.grow $a (i32.const 256)) (i32.const -1)) (then (local.set $blocks (i32.add (local.get $blocks) (i32.const 1)))))
      (if (i32.ne (memory.grow $b (i32.const 256)) (i32.const -1)) (then (local.set $blocks (i32.add (local.get $blocks) (i32.const 1)))))
      (if (i32.ne (memory.grow $c (i32.const 256)) (i32.const -1)) (then (local.set $blocks (i32.add (local.get $blocks) (i32.const 1)))))
      (if (i32.ne (memory.grow $d (i32.const 256)) (i32.const -1)) (then (local.set $blocks (i32.add (local.get $blocks) (i32.const 1)))))
      (local.set $tries (i32.add (local.get $tries) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $tries) (i32.const 50))))
    (call $proc_exit (local.get $blocks))))
