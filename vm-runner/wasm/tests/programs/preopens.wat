;; Tagged numbers name the working directory and `/`; 3 and 4 do so while nothing is open there.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "host_process" "proc_closefrom" (func $proc_closefrom (param i32) (result i32)))
  (import "host_fs" "path_mode" (func $path_mode (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) ".")
  (data (i32.const 8) "/dev/null")
  (data (i32.const 32) "home/ada")
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func (export "_start")
    (call $is (i32.const 1) (call $fd_prestat_get (i32.const 0x40000003) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 2) (i32.load (i32.const 132)) (i32.const 9))
    (call $is (i32.const 3) (call $fd_prestat_dir_name (i32.const 0x40000003) (i32.const 256) (i32.const 9)) (i32.const 0))
    (call $is (i32.const 4) (i32.load (i32.const 257)) (i32.const 0x656d6f68)) ;; "home"
    (call $is (i32.const 5) (call $fd_prestat_dir_name (i32.const 0x40000003) (i32.const 256) (i32.const 8)) (i32.const 37))
    (call $is (i32.const 6) (call $fd_prestat_get (i32.const 0x40000004) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 7) (i32.load (i32.const 132)) (i32.const 1))
    (call $is (i32.const 8) (call $fd_prestat_get (i32.const 0x40000005) (i32.const 128)) (i32.const 8))
    ;; untagged, too
    (call $is (i32.const 9) (call $fd_prestat_get (i32.const 3) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 10) (call $fd_fdstat_get (i32.const 4) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 11) (i32.load8_u (i32.const 128)) (i32.const 3))
    (call $is (i32.const 12) (i32.load (i32.const 144)) (i32.const 0x3fffffff)) ;; inheriting rights
    (call $is (i32.const 13) (call $fd_filestat_get (i32.const 0x40000004) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 14) (call $fd_readdir (i32.const 0x40000003) (i32.const 512) (i32.const 512) (i64.const 0) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 15) (i32.gt_u (i32.load (i32.const 128)) (i32.const 48)) (i32.const 1)) ;; `.` and `..`
    ;; relative to each of them, to AT_FDCWD, and absolute
    (call $is (i32.const 16) (call $path_mode (i32.const 0x40000004) (i32.const 32) (i32.const 8) (i32.const 1)) (i32.const 0x41ed))
    (call $is (i32.const 17) (call $path_mode (i32.const -1) (i32.const 0) (i32.const 1) (i32.const 1)) (i32.const 0x41ed))
    (call $is (i32.const 18) (call $path_mode (i32.const 99) (i32.const 8) (i32.const 9) (i32.const 1)) (i32.const 0x21b6))
    ;; a file at 3 takes the number; the tagged one stays
    (call $is (i32.const 19)
      (call $path_open (i32.const 3) (i32.const 1) (i32.const 8) (i32.const 9) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 128))
      (i32.const 0))
    (call $is (i32.const 20) (i32.load (i32.const 128)) (i32.const 3))
    (call $is (i32.const 21) (call $fd_prestat_get (i32.const 3) (i32.const 128)) (i32.const 8))
    (call $is (i32.const 22) (call $fd_prestat_get (i32.const 0x40000003) (i32.const 128)) (i32.const 0))
    ;; neither close nor closefrom takes it away
    (call $is (i32.const 23) (call $fd_close (i32.const 0x40000003)) (i32.const 0))
    (call $is (i32.const 24) (call $proc_closefrom (i32.const 0)) (i32.const 0))
    (call $is (i32.const 25) (call $fd_prestat_get (i32.const 0x40000003) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 26) (call $fd_close (i32.const 3)) (i32.const 8))))
