x=1; (x=2; echo $x); echo $x; y=$(x=3; echo $x); echo $y $x; cd /tmp; (cd /); pwd
