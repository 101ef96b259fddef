echo {a,b,c}{1,2} {1..5} {e..a}
