touch a; unlink a; echo $?; unlink a 2>/dev/null; echo $?; mkdir d; unlink d 2>/dev/null; echo $?; ls
