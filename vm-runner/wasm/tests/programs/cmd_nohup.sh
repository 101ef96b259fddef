nohup echo stays 2>/dev/null; nohup false 2>/dev/null; echo $?
