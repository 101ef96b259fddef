A=1 printenv A; printenv NOTHING; echo $?; env Z=9 printenv Z
