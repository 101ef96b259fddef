;; Grows a table until that fails: not beyond a million elements, and at once for four thousand million.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (table $table 10 funcref)
  (func (export "_start")
    (if (i32.ne (table.grow $table (ref.null func) (i32.const -1)) (i32.const -1)) (then (call $proc_exit (i32.const 1))))
    (loop $again (br_if $again (i32.ne (table.grow $table (ref.null func) (i32.const 10000)) (i32.const -1))))
    (if (i32.gt_u (table.size $table) (i32.const 1048576)) (then (call $proc_exit (i32.const 2))))
    (if (i32.ne (table.grow $table (ref.null func) (i32.const 2000000)) (i32.const -1)) (then (call $proc_exit (i32.const 3))))))
