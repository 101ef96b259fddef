export NAME=Ada; echo 'Hello $NAME, ${NAME}!' | envsubst; echo '$NOTHING-' | envsubst
