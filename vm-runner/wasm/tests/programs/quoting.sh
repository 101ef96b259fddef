x='a   b'
echo $x
echo "$x"
echo 'single $x' "double $x" mixed" $x"
printf '%s\n' "tab\there" $'real\ttab'
