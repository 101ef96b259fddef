;; Signals to the neighbour (a process of root, whose number is the first argument's length), to all, to nobody, and
;; signals that do not exist.
(module
  (import "host_process" "proc_kill" (func $proc_kill (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func (export "_start")
    (call $is (i32.const 1) (call $args_sizes_get (i32.const 0) (i32.const 4)) (i32.const 0))
    ;; the arguments are the name (13 bytes and a NUL), and as many letters as the pid, and a NUL
    (i32.store (i32.const 8) (i32.sub (i32.load (i32.const 4)) (i32.const 15)))
    (call $is (i32.const 2) (call $proc_kill (i32.load (i32.const 8)) (i32.const 9)) (i32.const 63))
    (call $is (i32.const 3) (call $proc_kill (i32.load (i32.const 8)) (i32.const 0)) (i32.const 63))
    (call $is (i32.const 4) (call $proc_kill (i32.sub (i32.const 0) (i32.load (i32.const 8))) (i32.const 9)) (i32.const 63))
    (call $is (i32.const 5) (call $proc_kill (i32.const 99999) (i32.const 9)) (i32.const 71))
    (call $is (i32.const 6) (call $proc_kill (i32.const 0x80000000) (i32.const 9)) (i32.const 71))
    (call $is (i32.const 7) (call $proc_kill (i32.const 0x7fffffff) (i32.const 0)) (i32.const 71))
    (call $is (i32.const 8) (call $proc_kill (i32.load (i32.const 8)) (i32.const 65)) (i32.const 28))
    (call $is (i32.const 9) (call $proc_kill (i32.load (i32.const 8)) (i32.const -1)) (i32.const 28))
    ;; everybody else: there is nobody that it may
    (drop (call $proc_kill (i32.const -1) (i32.const 9)))))
