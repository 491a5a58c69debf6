"""How texts are cut, cleaned and corrected before anybody reads them."""
