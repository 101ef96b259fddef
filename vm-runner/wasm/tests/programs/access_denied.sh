cat /etc/shadow-none 2>/dev/null; echo $?; touch /etc/nope 2>/dev/null; echo $?; echo x > ro; chmod 400 ro; echo y >> ro 2>/dev/null; echo $?; cat ro; chmod 000 ro; cat ro 2>/dev/null; echo $?
