echo x > f; sync; echo $?; sync f; echo $?; sync -d f; echo $?
