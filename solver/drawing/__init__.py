"""What the report and the page draw with: one set of components, and the view of an answer that they draw."""
