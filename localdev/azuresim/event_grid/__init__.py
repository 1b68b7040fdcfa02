"""Azure Event Grid: topics, event subscriptions, and delivery to webhooks that retries as the documentation says."""
