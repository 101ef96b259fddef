;; Asks for memory a million times, then writes to all it got. Exits with how many blocks of 16 MiB that were.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $blocks i32) (local $tries i32) (local $at i32)
    (loop $again
      (if (i32.ne (memory.grow (i32.const 256)) (i32.const -1))
        (then (local.set $blocks (i32.add (local.get $blocks) (i32.const 1)))))
      (local.set $tries (i32.add (local.get $tries) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $tries) (i32.const 1000000))))
    (loop $write
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $write (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (call $proc_exit (local.get $blocks))))
