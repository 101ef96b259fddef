;; Lists a directory through a buffer that holds one entry and a piece of the next. Exits with the number of entries.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "/opt/bin")
  (func (export "_start")
    (local $entries i32) (local $cookie i64)
    ;; opendir asks for non-blocking mode and for every right
    (if (call $path_open (i32.const 0x40000004) (i32.const 1) (i32.const 0) (i32.const 8) (i32.const 2)
          (i64.const 0x3fffffff) (i64.const 0x3fffffff) (i32.const 4) (i32.const 16))
      (then (call $proc_exit (i32.const 100))))
    (loop $next
      (if (call $fd_readdir (i32.load (i32.const 16)) (i32.const 64) (i32.const 48) (local.get $cookie) (i32.const 20))
        (then (call $proc_exit (i32.const 101))))
      (if (i32.ge_u (i32.load (i32.const 20)) (i32.const 24))
        (then
          (if (i64.eqz (i64.load (i32.const 72))) (then (call $proc_exit (i32.const 102)))) ;; inode
          (local.set $entries (i32.add (local.get $entries) (i32.const 1)))
          (local.set $cookie (i64.load (i32.const 64)))
          (br $next))))
    (call $proc_exit (local.get $entries))))
