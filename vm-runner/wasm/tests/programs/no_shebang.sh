echo 'echo plain script $1' > s; chmod +x s; env ./s arg
