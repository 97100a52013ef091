"""README, lesson and a study's report files: what is written where."""
