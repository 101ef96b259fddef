echo '1024 + 7 * 3' | bc; echo 'scale=4; 10/3' | bc; echo '(1+2)*3' | bc; echo '5 > 3' | bc
