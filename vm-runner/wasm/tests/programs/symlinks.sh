mkdir /tmp/s; cd /tmp/s; echo content > target
ln -s /tmp/s/target abs; ln -s target rel; ln -s missing dangling; ln -s loop loop
cat abs rel
readlink rel abs
cat dangling 2>/dev/null; echo $?
cat loop 2>/dev/null; echo $?
[ -L rel ] && echo link; [ -e dangling ] || echo nothing
readlink -f rel
