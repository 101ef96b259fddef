touch f; chmod 640 f; getfacl f | grep -v '^#'; setfacl -m u::rwx,o::r f; echo $?; stat -c %a f; getfacl f | grep user; setfacl --set u::r,g::r,o::- f; stat -c %a f
