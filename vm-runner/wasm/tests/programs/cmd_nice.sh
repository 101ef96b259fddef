nice -n 5 echo polite; nice echo again; nice -n 1 false; echo $?
