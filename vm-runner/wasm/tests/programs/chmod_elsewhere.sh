cd /tmp; mkdir c; cd c; touch f; chmod 640 f; stat -c %a f
cd ..; chmod 600 c/f; stat -c '%a %n' c/f
chmod u+x,go-r c/f; stat -c %A c/f
