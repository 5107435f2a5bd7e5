"""Who gets in: accounts of people, operators of the platform, login roles of programs."""
