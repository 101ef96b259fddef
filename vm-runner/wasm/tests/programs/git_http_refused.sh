git clone -q http://127.0.0.1:1/x 2>/dev/null; echo $?; git clone -q https://127.0.0.1:1/x 2>/dev/null; echo $?; ls
