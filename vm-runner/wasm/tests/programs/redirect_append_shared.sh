{ echo a; echo b; echo c; } > f
cat f
(echo d; echo e) >> f
tail -2 f
