;; What libraries conclude from `fdstat`: types, access modes, terminals; and what a write-only file says.
(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "host_user" "isatty" (func $user_isatty (param i32 i32) (result i32)))
  (import "host_tty" "isatty" (func $tty_isatty (param i32) (result i32)))
  (import "host_tty" "set_raw_mode" (func $set_raw_mode (param i32) (result i32)))
  (import "host_tty" "read" (func $tty_read (param i32 i32 i32) (result i32)))
  (import "host_fs" "set_open_mode" (func $set_open_mode (param i32) (result i32)))
  (import "host_fs" "fd_mode" (func $fd_mode (param i32) (result i32)))
  (import "host_fs" "fd_size" (func $fd_size (param i32) (result i64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\00\02\00\00\40\00\00\00") ;; a buffer of 64 bytes at 512
  (data (i32.const 8) "/dev/null")
  (data (i32.const 24) "first")
  (data (i32.const 32) "second")
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func $open (param $path i32) (param $len i32) (param $flags i32) (param $rights i64) (param $fd_flags i32) (result i32)
    (call $path_open (i32.const -1) (i32.const 1) (local.get $path) (local.get $len) (local.get $flags)
      (local.get $rights) (i64.const 0) (local.get $fd_flags) (i32.const 64)))
  (func $rights (param $fd i32) (result i32)
    (drop (call $fd_fdstat_get (local.get $fd) (i32.const 128)))
    (i32.and (i32.load (i32.const 136)) (i32.const 0x66))) ;; read 2, seek 4, tell 0x20, write 0x40
  (func (export "_start")
    ;; standard output is a pipe: type 0, no seek, no tell; its mode says pipe
    (call $is (i32.const 1) (call $rights (i32.const 1)) (i32.const 0x40))
    (call $is (i32.const 2) (i32.load8_u (i32.const 128)) (i32.const 0))
    (call $is (i32.const 3) (i32.and (call $fd_mode (i32.const 1)) (i32.const 0xf000)) (i32.const 0x1000))
    (call $is (i32.const 4) (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 1) (i32.const 64)) (i32.const 70))
    (call $is (i32.const 5) (call $user_isatty (i32.const 1) (i32.const 64)) (i32.const 0))
    (call $is (i32.const 6) (i32.load (i32.const 64)) (i32.const 0))
    (call $is (i32.const 7) (call $tty_isatty (i32.const 1)) (i32.const 0))
    (call $is (i32.const 8) (call $tty_isatty (i32.const 77)) (i32.const 0))
    (call $is (i32.const 9) (call $set_raw_mode (i32.const 1)) (i32.const 25)) ;; Linux's ENOTTY
    (call $is (i32.const 10) (call $tty_read (i32.const 512) (i32.const 1) (i32.const 0)) (i32.const 0))
    ;; the null device is a character device that can seek, so no terminal
    (call $is (i32.const 11) (call $open (i32.const 8) (i32.const 9) (i32.const 0) (i64.const 0x42) (i32.const 0)) (i32.const 0))
    (call $is (i32.const 12) (call $rights (i32.load (i32.const 64))) (i32.const 0x66))
    (call $is (i32.const 13) (i32.load8_u (i32.const 128)) (i32.const 2))
    ;; created with a mode that is used once; for writing and appending only
    (call $is (i32.const 14) (call $set_open_mode (i32.const 0x1ff)) (i32.const 0)) ;; 0777
    (call $is (i32.const 15) (call $open (i32.const 24) (i32.const 5) (i32.const 1) (i64.const 0x3fffbffd) (i32.const 1)) (i32.const 0))
    (call $is (i32.const 16) (i32.and (call $fd_mode (i32.load (i32.const 64))) (i32.const 0x1ff)) (i32.const 0x1ed)) ;; 0755
    (call $is (i32.const 17) (call $rights (i32.load (i32.const 64))) (i32.const 0x64))
    (call $is (i32.const 18) (i32.load16_u (i32.const 130)) (i32.const 1))
    (call $is (i32.const 19) (call $fd_read (i32.load (i32.const 64)) (i32.const 0) (i32.const 1) (i32.const 68)) (i32.const 8))
    (call $is (i32.const 20) (call $open (i32.const 32) (i32.const 6) (i32.const 1) (i64.const 0x40) (i32.const 0)) (i32.const 0))
    (call $is (i32.const 21) (i32.and (call $fd_mode (i32.load (i32.const 64))) (i32.const 0x1ff)) (i32.const 0x1a4)) ;; 0644
    ;; sentinels of closed fds
    (call $is (i32.const 22) (call $fd_mode (i32.const 77)) (i32.const 0))
    (if (i64.ne (call $fd_size (i32.const 77)) (i64.const -1)) (then (call $proc_exit (i32.const 23))))))
