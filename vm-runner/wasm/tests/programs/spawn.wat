;; Spawns `hello` with its output in a pipe, and waits for it: proc_spawn_v4 and proc_waitpid_v3, then v3 and v2.
(module
  (import "host_process" "proc_spawn_v4"
    (func $spawn_v4 (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "proc_spawn_v3"
    (func $spawn_v3 (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "proc_waitpid_v3" (func $wait_v3 (param i32 i32 i32 i32) (result i32)))
  (import "host_process" "proc_waitpid_v2" (func $wait_v2 (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "fd_pipe" (func $fd_pipe (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hello")
  (data (i32.const 8) "/nowhere:/opt/bin")
  (data (i32.const 32) "PATH=/opt/bin")
  (data (i32.const 48) "missing")
  ;; actions: dup2 of the pipe's writing end (4) to 1, close 3
  (data (i32.const 64) "\02\00\00\00\01\00\00\00\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 88) "\01\00\00\00\03\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 112) "\00\02\00\00\40\00\00\00") ;; a buffer of 64 bytes at 512
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func $v4 (param $name i32) (param $len i32) (param $search i32) (param $bits i32) (result i32)
    (call $spawn_v4
      (local.get $name) (local.get $len) (local.get $name) (local.get $len) (i32.const 32) (i32.const 0)
      (i32.const 64) (i32.const 48) (i32.const 0) (i32.const 0) (local.get $search) (i32.const 17)
      (local.get $bits) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 256)))
  (func (export "_start")
    (call $is (i32.const 1) (call $wait_v3 (i32.const -1) (i32.const 0) (i32.const 256) (i32.const 260)) (i32.const 12))
    (call $is (i32.const 2) (call $wait_v3 (i32.const -1) (i32.const 4) (i32.const 256) (i32.const 260)) (i32.const 28))
    (call $is (i32.const 3) (call $fd_pipe (i32.const 256) (i32.const 260)) (i32.const 0))
    (call $is (i32.const 4) (i32.load (i32.const 256)) (i32.const 3))
    ;; no search: a bare name is a file here. Unknown attribute, session with group: refused
    (call $is (i32.const 5) (call $v4 (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 0)) (i32.const 44))
    (call $is (i32.const 6) (call $v4 (i32.const 0) (i32.const 5) (i32.const 8) (i32.const 256)) (i32.const 58))
    (call $is (i32.const 7) (call $v4 (i32.const 0) (i32.const 5) (i32.const 8) (i32.const 130)) (i32.const 63))
    (call $is (i32.const 8) (call $v4 (i32.const 48) (i32.const 7) (i32.const 8) (i32.const 0)) (i32.const 44))
    (call $is (i32.const 9) (call $v4 (i32.const 0) (i32.const 5) (i32.const 8) (i32.const 0)) (i32.const 0))
    (call $is (i32.const 10) (call $wait_v3 (i32.load (i32.const 256)) (i32.const 0) (i32.const 264) (i32.const 268)) (i32.const 0))
    (call $is (i32.const 11) (i32.load (i32.const 264)) (i32.const 0x700))
    (call $is (i32.const 12) (i32.load (i32.const 268)) (i32.load (i32.const 256)))
    ;; v3 finds bare names in PATH of the new environment
    (call $is (i32.const 13)
      (call $spawn_v3
        (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5) (i32.const 32) (i32.const 13) (i32.const 64) (i32.const 48)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 256))
      (i32.const 0))
    (call $is (i32.const 14)
      (call $wait_v2 (i32.const -1) (i32.const 0) (i32.const 264) (i32.const 268) (i32.const 272) (i32.const 276)) (i32.const 0))
    (call $is (i32.const 15) (i32.load (i32.const 264)) (i32.const 7))
    (call $is (i32.const 16) (i32.load (i32.const 268)) (i32.const 0))
    (call $is (i32.const 17) (i32.load (i32.const 272)) (i32.load (i32.const 256)))
    ;; both wrote into the pipe; its end shows once nobody can write
    (call $is (i32.const 18) (call $fd_close (i32.const 4)) (i32.const 0))
    (call $is (i32.const 19) (call $fd_read (i32.const 3) (i32.const 112) (i32.const 1) (i32.const 264)) (i32.const 0))
    (call $is (i32.const 20) (i32.load (i32.const 264)) (i32.const 12))
    (call $is (i32.const 21) (call $fd_read (i32.const 3) (i32.const 112) (i32.const 1) (i32.const 264)) (i32.const 0))
    (call $is (i32.const 22) (i32.load (i32.const 264)) (i32.const 0))
    ;; a cut action
    (call $is (i32.const 23)
      (call $spawn_v3
        (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5) (i32.const 32) (i32.const 13) (i32.const 64) (i32.const 47)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 256))
      (i32.const 28))))
