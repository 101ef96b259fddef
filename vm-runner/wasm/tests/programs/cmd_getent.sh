getent passwd root | cut -d: -f1,3,6; getent group root | cut -d: -f1,3; getent passwd nosuchuser; echo $?
