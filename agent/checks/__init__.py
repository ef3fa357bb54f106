"""Where contact and judgement meet: each check reads through the edge, judges by the rules, and publishes what it saw."""
