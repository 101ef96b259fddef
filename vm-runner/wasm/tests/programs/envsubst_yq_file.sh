echo 'Hi $NAME' | NAME=Bob envsubst
