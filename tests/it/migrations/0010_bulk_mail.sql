UPDATE mail_outbox SET sender = 'news@example.org', unsubscribe_url = 'https://example.org/unsubscribe?token=x';
