include $(BR2_EXTERNAL_INTROSPECTD_PATH)/introspectd/introspectd.mk
