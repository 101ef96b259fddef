x=$(echo a b c)
echo "[$x]"
echo "$(echo nested $(echo inner))"
