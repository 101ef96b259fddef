mkdir -p /tmp/w/d && cd /tmp/w && touch inside
cd d && pwd && ls ..
cd ..; pwd
(cd d; pwd); pwd
cd d; /bin/pwd; cd - > /dev/null; pwd
rm -r /tmp/w
