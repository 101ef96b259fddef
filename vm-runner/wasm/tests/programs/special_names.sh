mkdir 'a dir'; echo s > 'a dir/file with  spaces'; cat 'a dir'/*; touch -- -dash; ls -- -dash; rm -- -dash; touch 'ä€𝄞'; ls ä*; touch $'new\nline'; ls | wc -l; find . -name 'new*' | wc -l
