"""Proof: journal -> effect and conclusion. It never imports what it judges, and touches neither plant nor loop."""
