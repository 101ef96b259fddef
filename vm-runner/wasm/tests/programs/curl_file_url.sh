echo 'over file' > f; curl -s "file://$PWD/f"; curl -s "file://$PWD/nothing"; echo $?; curl --version | head -1 | cut -d' ' -f1; curl -s http://127.0.0.1:1/; echo $?
