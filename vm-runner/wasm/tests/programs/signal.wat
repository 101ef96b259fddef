;; Catches SIGUSR1 (10), SIGTERM (15) and SIGALRM (14); handlers run at the exit of calls, and once for a signal that
;; came while it was blocked. A read that a signal interrupts is made again after SIGUSR1 (SA_RESTART), and is EINTR
;; after SIGALRM.
(module
  (import "host_process" "proc_sigaction" (func $proc_sigaction (param i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "proc_signal_mask_v2" (func $mask (param i32 i32 i32 i32 i32) (result i32)))
  (import "host_process" "proc_kill" (func $proc_kill (param i32 i32) (result i32)))
  (import "host_process" "proc_getpid" (func $proc_getpid (param i32) (result i32)))
  (import "host_process" "proc_itimer_real" (func $itimer (param i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\01\00\00\00") ;; a buffer of one byte at 64
  (data (i32.const 8) "\50\00\00\00\06\00\00\00") ;; "ready\n"
  (data (i32.const 80) "ready\n")
  (global $handled (mut i32) (i32.const 0))
  (func (export "__wasi_signal_trampoline") (param $signal i32)
    (global.set $handled (i32.add (i32.mul (global.get $handled) (i32.const 100)) (local.get $signal))))
  (func $is (param $step i32) (param $got i32) (param $want i32)
    (if (i32.ne (local.get $got) (local.get $want)) (then (call $proc_exit (local.get $step)))))
  (func $pid (result i32)
    (drop (call $proc_getpid (i32.const 128)))
    (i32.load (i32.const 128)))
  (func (export "_start")
    (call $is (i32.const 1) (call $proc_sigaction (i32.const 15) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (i32.const 2) (call $proc_sigaction (i32.const 10) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0x10000000)) (i32.const 0))
    (call $is (i32.const 3) (call $proc_sigaction (i32.const 14) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (i32.const 4) (call $proc_sigaction (i32.const 9) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 28))
    ;; to itself: the handler has run when the call returns
    (call $is (i32.const 5) (call $proc_kill (call $pid) (i32.const 15)) (i32.const 0))
    (call $is (i32.const 6) (global.get $handled) (i32.const 15))
    ;; blocked, then unblocked
    (call $is (i32.const 7) (call $mask (i32.const 0) (i32.const 0x4000) (i32.const 0) (i32.const 132) (i32.const 136)) (i32.const 0))
    (call $is (i32.const 8) (call $proc_kill (call $pid) (i32.const 15)) (i32.const 0))
    (call $is (i32.const 9) (global.get $handled) (i32.const 15))
    (call $is (i32.const 10) (call $mask (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 132) (i32.const 136)) (i32.const 0))
    (call $is (i32.const 11) (i32.load (i32.const 132)) (i32.const 0x4000))
    (call $is (i32.const 12) (global.get $handled) (i32.const 1515))
    (call $is (i32.const 13) (call $mask (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 132) (i32.const 136)) (i32.const 28))
    ;; interrupted by a timer: EINTR
    (global.set $handled (i32.const 0))
    (call $is (i32.const 14) (call $itimer (i32.const 1) (i64.const 2000) (i64.const 0) (i32.const 136) (i32.const 144)) (i32.const 0))
    (call $is (i32.const 15) (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 128)) (i32.const 27))
    (call $is (i32.const 16) (global.get $handled) (i32.const 14))
    ;; interrupted by the host with SIGUSR1: the read goes on until there is something
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 128)))
    (call $is (i32.const 17) (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 128)) (i32.const 0))
    (call $is (i32.const 18) (global.get $handled) (i32.const 1410))
    ;; ignored, and back to the default, which kills
    (call $is (i32.const 19) (call $proc_sigaction (i32.const 15) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (i32.const 20) (call $proc_kill (call $pid) (i32.const 15)) (i32.const 0))
    (call $is (i32.const 21) (call $proc_sigaction (i32.const 15) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0))
    (drop (call $proc_kill (call $pid) (i32.const 15)))
    (call $proc_exit (i32.const 22))))
