touch f; chmod 640 f; getfacl -c f; setfacl -m u::rwx,o::r f; echo $?; stat -c %a f; getfacl -c f | head -1; setfacl --set u::r,g::r,o::- f; stat -c %a f
